//! The iptables rules a [`Config`](crate::config::Config) stands for. Never applied by us.
