-- Takes back a start whose answer we did not get, whether it was carried out, never will be, or will be later.
-- KEYS: the record. ARGV: me, number of the start, ms for which one that comes later is known to be too late.
local key, me, number = KEYS[1], ARGV[1], ARGV[2]
local record = redis.call('HMGET', key, 's', 'o', 'n', 'b')
local state, owner, last, before = record[1], record[2], record[3], record[4]
local ours = owner == me and last == number
if state == 'E' or state == 'S' and not ours then
    return {}
elseif state == 'S' and before == 'O' then
    redis.call('HSET', key, 'o', '-') -- Nobody's, so still an orphan.
elseif state == 'S' and before == 'W' then
    redis.call('HSET', key, 's', 'W')
elseif state == 'S' then
    redis.call('HSET', key, 's', 'F')
    redis.call('PEXPIRE', key, ARGV[3])
elseif not state then
    redis.call('HSET', key, 's', 'F', 'o', me, 'n', number)
    redis.call('PEXPIRE', key, ARGV[3])
elseif owner ~= me or tonumber(last) < tonumber(number) then
    redis.call('HSET', key, 'o', me, 'n', number)
end
return {}
