//! The official clients on the stack: whatever they rely on has to be there.
//! Never imitates a client; each runs as its makers publish it.

mod supabase_js;
