-- Prepended to the scripts that begin an epoch: init, mint, swap.
--
-- begun(epochs, epoch, rev, about, most) notes when and above which revision it begins, and keeps the last `most`.
-- `about` is a JSON object that says why, without `rev` and `began`, which are put in here.
if redis.replicate_commands then redis.replicate_commands() end -- 6.2: TIME, then writes

local function begun(epochs, epoch, rev, about, most)
  local record = '{"rev":' .. rev .. ',"began":' .. redis.call('TIME')[1] .. ',' .. string.sub(about, 2)
  redis.call('HSET', epochs, epoch, record)
  while redis.call('HLEN', epochs) > tonumber(most) do
    local oldest, number
    for _, name in ipairs(redis.call('HKEYS', epochs)) do
      local n = tonumber(string.match(name, '^(%d+)')) or 0
      if not number or n < number then oldest, number = name, n end
    end
    redis.call('HDEL', epochs, oldest)
  end
end

