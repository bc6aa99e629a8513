//! The operator: makes a `DaskCluster` manifest true on Azure Machine Learning.
pub mod azure;
pub mod clock;
