-- Records that an earlier delivery may have been posted without a record, unless there is a record.
-- KEYS: the record. ARGV: retention in ms.
local key = KEYS[1]
local state = redis.call('HGET', key, 's')
if not state then
    redis.call('HSET', key, 's', 'W', 'o', '-', 'n', '0', 'u', '1')
elseif state == 'F' then
    redis.call('HSET', key, 's', 'W', 'u', '1')
else
    return {}
end
redis.call('PEXPIRE', key, ARGV[1])
return {}
