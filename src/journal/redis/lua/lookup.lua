-- Reads a record: s state (S started, W waiting, E finished, F withdrawn), o owner and n number of the start, u
-- uncertain, a attempts that count, b state before the start (O orphaned), l letter pending, t event published, e event.
-- KEYS: the record.
local record = redis.call('HMGET', KEYS[1], 's', 'o', 'n', 'u', 'b', 'a')
local state, owner, number, uncertain, before = record[1], record[2], record[3], record[4], record[5]
local counted = record[6] or '0'
if state == 'E' then
    local outcome = redis.call('HMGET', KEYS[1], 'l', 't', 'e')
    return { 'E', outcome[1], outcome[2] or '0', outcome[3] }
elseif state == 'S' then
    return { 'S', owner, number, counted, before, uncertain }
elseif state == 'W' then
    return { 'W', uncertain, counted }
end
return { 'U', '0', '0' }
