-- As kstatus says it (DaskCluster keeps its conditions to that), but that a cluster at rest is Suspended, and that one
-- without a status is not there yet.
local health = { status = "Progressing", message = "the operator has not seen it yet" }

if obj.metadata.deletionTimestamp ~= nil then
  health.message = "it is being deleted"
end
if obj.status == nil or obj.status.observedGeneration ~= obj.metadata.generation then
  return health
end

local told = {}
for _, condition in ipairs(obj.status.conditions or {}) do
  told[condition.type] = condition
end
local ready, stalled, reconciling = told.Ready, told.Stalled, told.Reconciling
if ready == nil then
  return health
end
health.message = ready.reason .. ": " .. (ready.message or "")

if obj.metadata.deletionTimestamp ~= nil then
  return health
elseif stalled ~= nil and stalled.status == "True" then
  health.status = "Degraded"
  health.message = stalled.reason .. ": " .. (stalled.message or "")
elseif reconciling ~= nil and reconciling.status == "True" then
  health.status = "Progressing"
elseif ready.status == "True" and ready.reason == "Suspended" then
  health.status = "Suspended"
elseif ready.status == "True" then
  health.status = "Healthy"
end
return health
