//! Hosts in network namespaces and the processes of a whole HIDPS world, for dev, demo, tests and benches.
