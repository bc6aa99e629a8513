-- Another text than before wakes it, and no two rests begin at the same time.
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["azureml.dask.dev/wake"] = "from the rest of " .. obj.status.rest.since
return obj
