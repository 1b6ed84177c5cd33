-- Reads a record: s state (S started, W waiting, E finished, F withdrawn), o owner and n number of the start, u
-- uncertain, b state before the start (O orphaned), l letter pending, e event. KEYS: the record.
local record = redis.call('HMGET', KEYS[1], 's', 'o', 'n', 'u', 'b')
local state, owner, number, uncertain, before = record[1], record[2], record[3], record[4], record[5]
if state == 'E' then
    return redis.call('HMGET', KEYS[1], 's', 'l', 'e')
elseif state == 'S' then
    return { 'S', owner, number, before, uncertain }
elseif state == 'W' then
    return { 'W', uncertain }
end
return { 'U', '0' }
