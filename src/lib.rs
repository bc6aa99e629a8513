//! The operator: makes a `DaskCluster` manifest true on Azure Machine Learning.

pub mod api;
pub mod azure;
pub mod clock;
