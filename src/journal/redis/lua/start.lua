-- Records that an attempt starts, unless somebody is at it or it has ended.
-- KEYS: the record. ARGV: me, number of the start, retention in ms, and whose start (owner, number) may be taken over.
local key, me, number = KEYS[1], ARGV[1], ARGV[2]
local record = redis.call('HMGET', key, 's', 'o', 'n', 'u', 'b')
local state, owner, last, uncertain, before = record[1], record[2], record[3], record[4], record[5]
if state == 'E' then
    return redis.call('HMGET', key, 's', 'l', 'e')
end
local again = state == 'S' and last == number
if owner == me and tonumber(last) >= tonumber(number) and not again then
    return { 'X' } -- It comes late: a newer start or a withdrawal of ours was faster. Nobody waits for this answer.
end
if state == 'S' and owner ~= me then
    if owner ~= ARGV[4] or last ~= ARGV[5] then
        return { 'S', owner, last }
    end
    before, uncertain = 'O', '1'
elseif state == 'W' then
    before = 'W'
elseif state ~= 'S' then
    before, uncertain = 'U', '0'
end -- else the answer to a start of ours was lost: what was before that is told again
redis.call('HSET', key, 's', 'S', 'o', me, 'n', number, 'u', uncertain, 'b', before)
redis.call('PEXPIRE', key, ARGV[3])
return { before, uncertain }
