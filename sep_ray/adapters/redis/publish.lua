-- Add a batch to the board, or nothing when it stands elsewhere.
-- KEYS: the place, the stream of events, the open intents, their counts.
-- ARGV: the place it follows ('' for none), the place it leads to, 1 to begin anew, events to keep,
-- how many moves; for each move: intent, version, state, 1 while open, group ('' where known);
-- then for each event: seq, and its entry.
-- Returns 1, or 0 when nothing was done.
local place, stream, open, counts = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
if (redis.call('GET', place) or '') ~= ARGV[1] then
  return 0
end
if ARGV[3] == '1' then
  redis.call('DEL', stream, open, counts)
end

local function count(key, by)
  if redis.call('HINCRBY', counts, key, by) == 0 then
    redis.call('HDEL', counts, key)
  end
end

local at = 6
for _ = 1, tonumber(ARGV[5]) do
  local intent, version, state = ARGV[at], tonumber(ARGV[at + 1]), ARGV[at + 2]
  local is_open, group = ARGV[at + 3] == '1', ARGV[at + 4]
  at = at + 5
  local known, known_state, known_group = 0, nil, ''
  local held = redis.call('HGET', open, intent)
  if held then
    known, known_state, known_group = string.match(held, '^(%d+) (%S+) (.+)$')
  end
  if group == '' then
    group = known_group
  end
  if version > tonumber(known) and group ~= '' then
    if held then
      count(known_state .. ' ' .. known_group, -1)
    end
    if is_open then
      redis.call('HSET', open, intent, version .. ' ' .. state .. ' ' .. group)
      count(state .. ' ' .. group, 1)
    else
      redis.call('HDEL', open, intent)
    end
  end
end

while at < #ARGV do
  redis.call('XADD', stream, 'MAXLEN', '~', ARGV[4], ARGV[at] .. '-0', 'e', ARGV[at + 1])
  at = at + 2
end
redis.call('SET', place, ARGV[2])
return 1
