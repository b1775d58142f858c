//! terminal-agent
