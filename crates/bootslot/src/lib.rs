//! bootslot
