-- Records that the send was not posted so far, unless there is a record. KEYS: the record. ARGV: retention in ms.
local state = redis.call('HGET', KEYS[1], 's')
if not state or state == 'F' then
    redis.call('HSET', KEYS[1], 's', 'W', 'u', '0')
    redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return {}
