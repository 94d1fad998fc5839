//! A Supabase-compatible subset on one machine, for development and tests.
