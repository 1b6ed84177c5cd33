-- Records the outcome, whoever has an attempt in progress; the first outcome stays.
-- KEYS: the record. ARGV: the event, '1' if a dead letter is pending, retention in ms.
local key = KEYS[1]
if redis.call('HGET', key, 's') ~= 'E' then
    redis.call('DEL', key)
    redis.call('HSET', key, 's', 'E', 'e', ARGV[1], 'l', ARGV[2])
    redis.call('PEXPIRE', key, ARGV[3])
end
return {}
