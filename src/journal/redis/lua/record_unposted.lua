-- Records that the send was not posted beyond these attempts, unless there is a record.
-- KEYS: the record. ARGV: retention in ms, '1' if an attempt may have reached the API, attempts that count.
local state = redis.call('HGET', KEYS[1], 's')
if not state or state == 'F' then
    redis.call('HSET', KEYS[1], 's', 'W', 'u', ARGV[2], 'a', ARGV[3])
    redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return {}
