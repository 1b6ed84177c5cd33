-- Records that the outcome's dead letter is stored. KEYS: the record.
if redis.call('HGET', KEYS[1], 's') == 'E' then
    redis.call('HSET', KEYS[1], 'l', '0')
end
return {}
