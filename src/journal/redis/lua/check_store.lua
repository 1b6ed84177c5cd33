-- Compares the store's mark with the server. A missing mark or that of another server begins a period of doubt.
-- KEYS: the mark, the doubt. ARGV: the server's run id, a random text, the period of doubt in ms.
local mark = redis.call('GET', KEYS[1])
if not mark or string.sub(mark, 1, #ARGV[1]) ~= ARGV[1] then
    redis.call('SET', KEYS[2], mark and 'server' or 'empty', 'PX', ARGV[3])
    mark = ARGV[1] .. ':' .. ARGV[2]
    redis.call('SET', KEYS[1], mark)
end
return { mark, redis.call('GET', KEYS[2]) or '' }
