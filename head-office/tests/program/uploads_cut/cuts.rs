//! One upload, cut again and again.

use rand::RngExt;
use tokio::net::TcpStream;

use crate::support::archive::{Recipe, pack};
use crate::support::daemons::Daemons;
use crate::support::program::Program;
use crate::support::{database, tus};
use crate::uploads_cut::bursts::{Cut, cut, head, patch, send};
use crate::uploads_cut::{arrived_whole, dice};

const CUTS: usize = 60;
const KILLS: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_cut_by_fin_and_rst_and_kill_at_random_bytes_arrives_as_it_was() {
    let (db, daemons, mut dice) = (database().await, Daemons::prepare(), dice(1));
    let mut program = Program::new(&db.url(), &daemons);
    program.launch();
    program.wait_until_it_answers().await;
    program.enrol().await;
    let file = pack(program.dir.path(), &Recipe { length: 6_000_000, ..Recipe::default() });
    let bytes = std::fs::read(file).unwrap();
    let id = tus::create(&program.operators, bytes.len()).await;
    let (mut acknowledged, mut in_heads, mut kept) = (0, 0, 0);
    for round in 0..CUTS + KILLS {
        let at = tus::offset(&program.operators, id).await;
        assert!(at >= acknowledged, "round {round}: {acknowledged} bytes were acknowledged, {at} are there");
        assert!(program.stored(id)[..at as usize] == bytes[..at as usize], "round {round}: other bytes before {at}");
        kept += usize::from(at > acknowledged);
        acknowledged = at;
        let rest = &bytes[at as usize..];
        let head = head(program.address, id, at, rest.len());
        let whole = [head.as_slice(), rest].concat();
        let most = rest.len() / 12;
        if round % (CUTS / KILLS) == 7 {
            let mut stream = TcpStream::connect(program.address).await.unwrap();
            send(&mut stream, &whole[..head.len() + dice.random_range(0..most)], &mut dice).await;
            program.kill_and_restart().await;
            continue;
        }
        if round % 10 == 3 {
            // One that is not cut: what is acknowledged stays, whatever follows.
            let length = dice.random_range(1..most);
            let answer = patch(program.address, id, at, &rest[..length], &mut dice).await.unwrap();
            assert_eq!((answer.status, answer.offset), (204, Some(at + length as u64)), "{}", answer.text);
            acknowledged = at + length as u64;
            continue;
        }
        let in_head = round % 6 == 0;
        in_heads += usize::from(in_head);
        let sent = if in_head { dice.random_range(1..head.len()) } else { head.len() + dice.random_range(0..most) };
        cut(program.address, &whole, sent, if round % 2 == 0 { Cut::Fin } else { Cut::Rst }, &mut dice).await;
    }
    assert!(in_heads > 5 && kept > CUTS / 3, "{in_heads} cuts in heads, {kept} cuts of which something was kept");
    let at = tus::offset(&program.operators, id).await;
    assert!((1..bytes.len() as u64).contains(&at), "{at}");
    let answer = patch(program.address, id, at, &bytes[at as usize..], &mut dice).await.unwrap();
    assert_eq!(answer.status, 204, "{}", answer.text);
    arrived_whole(&program, id, &bytes).await;
}
