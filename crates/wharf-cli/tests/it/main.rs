//! The `wharf` command as a person or a script uses it: spawned, fed, killed.
