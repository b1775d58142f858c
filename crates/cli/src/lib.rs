//! filial
