-- What is on record. KEYS: the record.
local record = redis.call('HMGET', KEYS[1], 's', 'o', 'n', 'u', 'b')
local state, owner, last, uncertain, before = record[1], record[2], record[3], record[4], record[5]
if state == 'E' then
    return redis.call('HMGET', KEYS[1], 's', 'l', 'e')
elseif state == 'S' then
    return { 'S', owner, last, before, uncertain }
elseif state == 'W' then
    return { 'W', uncertain }
end
return { 'U', '0' }
