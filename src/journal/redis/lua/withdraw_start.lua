-- Undoes a start whose reply was lost, whether it was executed, will be later, or never will be.
-- KEYS: the record. ARGV: owner, number of the start, time in ms for which a later execution of the start is rejected.
local key, me, number = KEYS[1], ARGV[1], ARGV[2]
local record = redis.call('HMGET', key, 's', 'o', 'n', 'b')
local state, owner, last, before = record[1], record[2], record[3], record[4]
local ours = owner == me and last == number
if state == 'E' or state == 'S' and not ours then
    return {}
elseif state == 'S' and before == 'O' then
    redis.call('HSET', key, 'o', '-') -- No owner, so still orphaned.
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
