//! The list of refused addresses, as transmission-daemon takes it: text, fetched from a web server.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Longest request that is read before the answer is sent.
const MAX_REQUEST: usize = 8 * 1024;

/// The list in the text form that every version reads (`name:first-last`); none if it is empty. It knows IPv4 only.
pub(super) fn list(addresses: &BTreeSet<IpAddr>) -> Option<String> {
    let line = |address: &IpAddr| match address {
        IpAddr::V4(a) => Some(format!("refused:{a}-{a}\n")),
        IpAddr::V6(_) => None,
    };
    let text: String = addresses.iter().filter_map(line).collect();
    (!text.is_empty()).then_some(text)
}

/// A web server with one page, on loopback. It ends when dropped.
pub(super) struct Served {
    pub(super) url: String,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves a page to every caller.
pub(super) async fn serve(page: String) -> std::io::Result<Served> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let url = format!("http://{}/refused", listener.local_addr()?);
    let task = tokio::spawn(async move {
        // One after the other: only the daemon knows the port.
        while let Ok((stream, _)) = listener.accept().await {
            if let Err(error) = answer(stream, &page).await {
                tracing::debug!(%error, "the list of refused addresses was not taken");
            }
        }
    });
    Ok(Served { url, task })
}

async fn answer(mut stream: TcpStream, page: &str) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|w| w == b"\r\n\r\n") && request.len() < MAX_REQUEST {
        if stream.read_buf(&mut request).await? == 0 {
            break;
        }
    }
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n", page.len());
    stream.write_all(format!("{head}Connection: close\r\n\r\n{page}").as_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_has_a_line_for_each_address() {
        assert_eq!(list(&BTreeSet::new()), None);
        assert_eq!(list(&BTreeSet::from(["fe80::1".parse().unwrap()])), None);
        let two = BTreeSet::from([[10, 0, 0, 2].into(), [10, 0, 0, 1].into()]);
        assert_eq!(list(&two).unwrap(), "refused:10.0.0.1-10.0.0.1\nrefused:10.0.0.2-10.0.0.2\n");
    }

    #[tokio::test]
    async fn the_page_is_served_as_often_as_it_is_asked_for() {
        let served = serve("refused:10.0.0.1-10.0.0.1\n".into()).await.unwrap();
        for _ in 0..2 {
            let answer = reqwest::Client::builder().no_proxy().build().unwrap().get(&served.url).send().await.unwrap();
            assert_eq!(answer.text().await.unwrap(), "refused:10.0.0.1-10.0.0.1\n");
        }
    }
}
