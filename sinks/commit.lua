-- Moves one shard from one head to the next, or does nothing.
-- KEYS[1]  h:{shard}, a hash: hash, torn, and the head's other fields
-- ARGV     prev hash, new hash, n = number of head fields and values, those,
--          p = number of person keys and values, those,
--          r = number of dropped keys, those,
--          then, to the end: dedupe key, m = number of members, those
-- Returns 1, or 0 if the head is not prev, or -1 if the shard is torn.
-- Lua does not roll back, so everything is checked first, and `torn` marks the time between first and last write.
local head = KEYS[1]
local was = redis.call('HMGET', head, 'hash', 'torn')
if was[2] and was[2] ~= '' then return -1 end
if (was[1] or string.rep('\0', 32)) ~= ARGV[1] then return 0 end
redis.call('HSET', head, 'torn', 'commit')

-- unpack takes some 8,000 values at most
local function chunks(command, first, last, key)
  for from = first, last, 7000 do
    local to = math.min(from + 6999, last)
    if key then redis.call(command, key, unpack(ARGV, from, to)) else redis.call(command, unpack(ARGV, from, to)) end
  end
end

local at = 3
local fields = at + 1
local fields_last = at + tonumber(ARGV[at])
at = fields_last + 1
chunks('MSET', at + 1, at + tonumber(ARGV[at]))
at = at + tonumber(ARGV[at]) + 1
chunks('UNLINK', at + 1, at + tonumber(ARGV[at]))
at = at + tonumber(ARGV[at]) + 1
while ARGV[at] do
  local last = at + 1 + tonumber(ARGV[at + 1])
  chunks('SADD', at + 2, last, ARGV[at])
  at = last + 1
end
redis.call('DEL', head)
redis.call('HSET', head, 'hash', ARGV[2], 'torn', '', unpack(ARGV, fields, fields_last))
return 1
