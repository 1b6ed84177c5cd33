-- Records that an attempt starts, unless one is in progress or the send has its outcome.
-- KEYS: the record; except in a Cluster, the store's mark. ARGV: owner, number of the start, retention in ms, owner and
-- number of a start that may be taken over, the mark that this owner has checked.
local key, me, number = KEYS[1], ARGV[1], ARGV[2]
local record = redis.call('HMGET', key, 's', 'o', 'n', 'u', 'b', 'a')
local state, owner, last, uncertain, before = record[1], record[2], record[3], record[4], record[5]
local counted = record[6] or '0'
if not state and KEYS[2] and redis.call('GET', KEYS[2]) ~= ARGV[6] then
    return { 'M' } -- The store was emptied or replaced, so the missing record proves nothing.
end
if state == 'E' then
    local outcome = redis.call('HMGET', key, 'l', 't', 'e')
    return { 'E', outcome[1], outcome[2] or '0', outcome[3] }
end
local again = state == 'S' and last == number
if owner == me and tonumber(last) >= tonumber(number) and not again then
    return { 'X' } -- Late: a newer start or a withdrawal by this owner came first. No caller awaits this reply.
end
if state == 'S' and owner ~= me then
    if owner ~= ARGV[4] or last ~= ARGV[5] then
        return { 'S', owner, last, counted }
    end
    before, uncertain = 'O', '1'
elseif state == 'W' then
    before = 'W'
elseif state ~= 'S' then
    before, uncertain = 'U', '0'
end -- Otherwise the reply to a start by this owner was lost: the state before that start is returned again.
redis.call('HSET', key, 's', 'S', 'o', me, 'n', number, 'u', uncertain, 'b', before)
redis.call('PEXPIRE', key, ARGV[3])
return { before, uncertain, counted }
