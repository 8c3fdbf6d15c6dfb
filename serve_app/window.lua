-- A sliding window of one-second counts, kept in one hash per principal.
-- KEYS[1] the hash. ARGV: limit, wanted, window in seconds.
-- Returns {granted (1 or 0), seconds until the wanted number fits}.
local now = tonumber(redis.call('TIME')[1])
local limit, wanted, window = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local counts, used, seconds = {}, 0, {}
local rows = redis.call('HGETALL', KEYS[1])
for i = 1, #rows, 2 do
  local second, count = tonumber(rows[i]), tonumber(rows[i + 1])
  if second <= now - window then
    redis.call('HDEL', KEYS[1], rows[i])
  else
    counts[second] = count
    used = used + count
    seconds[#seconds + 1] = second
  end
end
if used + wanted <= limit then
  redis.call('HINCRBY', KEYS[1], now, wanted)
  redis.call('EXPIRE', KEYS[1], window + 1)
  return {1, 0}
end
table.sort(seconds)
local free, wait = limit - used, window
for _, second in ipairs(seconds) do
  free = free + counts[second]
  if free >= wanted then
    wait = second + window - now
    break
  end
end
return {0, math.max(1, wait)}
