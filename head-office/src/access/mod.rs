//! Who may do what, and what they did: [`passwords`], [`guesses`] (wrong passwords are throttled), [`login`],
//! [`rules`] (pure), [`bootstrap`] and [`recover`] (from the console), [`audit`] and its [`anchor`].

pub mod anchor;
pub mod audit;
pub mod bootstrap;
pub mod guesses;
pub mod login;
pub mod passwords;
pub mod recover;
pub mod rules;
