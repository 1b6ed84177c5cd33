-- Records that this owner's attempt is accounted for. An attempt that another owner took over stays in progress: that
-- owner treats it as uncertain anyway.
-- KEYS: the record. ARGV: owner, number of the start, retention in ms, '1' if an attempt may have reached the API,
-- attempts that count.
local key, me, number = KEYS[1], ARGV[1], ARGV[2]
local record = redis.call('HMGET', key, 's', 'o', 'n', 'u')
local state, owner, last, uncertain = record[1], record[2], record[3], record[4]
if state == 'E' or state == 'S' and (owner ~= me or last ~= number) then
    return {}
end
if uncertain ~= '1' then
    uncertain = ARGV[4]
end
if state == 'W' then
    redis.call('HSET', key, 'u', uncertain, 'a', ARGV[5])
else
    redis.call('HSET', key, 's', 'W', 'o', me, 'n', number, 'u', uncertain, 'a', ARGV[5])
end
redis.call('PEXPIRE', key, ARGV[3])
return {}
