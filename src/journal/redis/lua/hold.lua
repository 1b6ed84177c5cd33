-- Holds a lease, or proves that writing works. KEYS: what to write. ARGV: the value, how long it lasts in ms.
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {}
