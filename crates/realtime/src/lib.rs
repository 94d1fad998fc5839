//! A Supabase Realtime client made for reconcilers.
