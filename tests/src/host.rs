//! The host under a pipeline of the shipped shape.
