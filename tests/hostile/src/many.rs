//! An archive with more members than anybody reads, made while it is read.

use std::io::{self, Read};

use crate::tar::{Tar, sum};

/// A good archive's beginning and then empty members, their names all different.
///
/// Nothing of it is kept in memory.
#[derive(Debug)]
pub struct ManyMembers {
    head: Vec<u8>,
    template: [u8; 512],
    members: u64,
    at: u64,
}

impl ManyMembers {
    /// With so many empty members.
    pub fn new(members: u64) -> Self {
        let mut template = [0; 512];
        template.copy_from_slice(&Tar::default().header(b"f", b'0', 0).0);
        Self { head: Tar::good().0, template, members, at: 0 }
    }

    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        self.head.len() as u64 + 512 * self.members + 1024
    }
}

impl Read for ManyMembers {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let head = self.head.len() as u64;
        let mut end = [0u8; 512];
        let (part, from): (&[u8], u64) = if self.at < head {
            (&self.head, self.at)
        } else {
            let number = (self.at - head) / 512;
            if number < self.members {
                let name = format!("{number:010}");
                self.template[..name.len()].copy_from_slice(name.as_bytes());
                sum(&mut self.template);
                end = self.template;
            }
            let left = self.length() - self.at;
            if left == 0 {
                return Ok(0);
            }
            (&end, (self.at - head) % 512)
        };
        let part = &part[from as usize..];
        let length = part.len().min(buf.len());
        buf[..length].copy_from_slice(&part[..length]);
        self.at += length as u64;
        Ok(length)
    }
}
