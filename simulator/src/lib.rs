//! A stand-in Veeam Service Provider Console for demos, tests and benches.
