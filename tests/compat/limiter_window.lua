-- Sliding window: at most `limit` hits in the last `window_ms`. KEYS[1] a sorted set; ARGV now_ms, window_ms, limit, id.
-- Answers {allowed 0|1, hits in the window}.
local now, window, limit = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
local hits = redis.call('ZCARD', KEYS[1])
if hits >= limit then
    return {0, hits}
end
redis.call('ZADD', KEYS[1], now, ARGV[4])
redis.call('PEXPIRE', KEYS[1], window)
return {1, hits + 1}
