//! Jobs against a real PostgreSQL, the route table and the client over real sockets.

#[cfg(test)]
mod floods;
#[cfg(test)]
mod heads;
#[cfg(test)]
mod jobs;
#[cfg(test)]
mod server;
