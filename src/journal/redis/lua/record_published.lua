-- Records that the broker has confirmed the event of the outcome. KEYS: the record.
if redis.call('HGET', KEYS[1], 's') == 'E' then
    redis.call('HSET', KEYS[1], 't', '1')
end
return {}
