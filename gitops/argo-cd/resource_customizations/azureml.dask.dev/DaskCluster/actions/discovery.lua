local suspended = obj.spec.suspend == true
local rests = obj.status ~= nil and obj.status.rest ~= nil

return {
  suspend = { disabled = suspended },
  resume = { disabled = not suspended },
  -- Whatever lets it rest but spec.suspend.
  wake = { disabled = suspended or not rests },
}
