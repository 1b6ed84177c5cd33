-- Writes a lease, or a probe that shows that the server accepts writes.
-- KEYS: the key. ARGV: the value, time to live in ms.
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {}
