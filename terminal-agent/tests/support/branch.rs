//! The branch server, as the agent talks to it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use fleet_types::Digest;
use service_kit::client::{ByteStream, ClientError};
use terminal_agent::model::identity::Identity;
use terminal_agent::ports::Branch;
use tokio::sync::Notify;
use trust::certificates::{Anchor, Peer, TlsKey, request_from_pem, request_key, request_signer};
use wire::v1::plan::ArtifactRef;
use wire::v1::reports::{Acknowledged, Batch, Report};
use wire::v1::sync::{EnrolRequest, EnrolResponse, Sync};
use wire::{Code, Problem};

use super::release::{FOREIGN_TRACKER, TestRelease, digest};
use super::world::{JOIN, Port, World};

pub struct FakeBranch(pub Arc<World>);

impl FakeBranch {
    fn call(&self, port: Port) -> Result<(), ClientError> {
        self.0.kill.point();
        self.0.lock().requests += 1;
        if self.0.fails(port) || !self.0.lock().branch_up {
            let url = "https://10.1.0.1:7004".into();
            return Err(ClientError::Silent { url, idle: Duration::from_secs(15) });
        }
        Ok(())
    }

    /// A terminal that presents its certificate.
    fn known(&self, port: Port) -> Result<(), ClientError> {
        self.call(port)?;
        let world = self.0.lock();
        let code = world.turned_away.or(world.known_key.is_none().then_some(Code::Unauthenticated));
        code.map_or(Ok(()), |code| Err(refused(code)))
    }

    fn find(&self, wanted: impl Fn(&TestRelease) -> bool) -> Result<TestRelease, ClientError> {
        let found = self.0.lock().releases.iter().find(|r| wanted(r)).cloned();
        let problem = Problem::new(Code::NotHeldYet, "It is not held here yet.", "Ask again later.");
        found.ok_or_else(|| ClientError::Refused(Box::new(problem)))
    }
}

fn refused(code: Code) -> ClientError {
    ClientError::Refused(Box::new(Problem::new(code, "As the test wants it.", "None.")))
}

#[async_trait]
impl Branch for FakeBranch {
    fn authenticate(&self, identity: &Identity, key: &TlsKey) -> Result<(), ClientError> {
        assert_eq!((identity.branch.as_str(), identity.name.as_str()), ("north", "till-1"));
        let key = request_key(&key.request().unwrap()).unwrap();
        assert_eq!(trust::certificates::fingerprint(&identity.authority), self.0.lock().branch.fingerprint());
        assert!(self.0.lock().known_key.is_none_or(|known| known == key));
        Ok(())
    }

    fn not_before(&self, floor: DateTime<Utc>) {
        self.0.lock().floor = floor;
    }

    async fn enrol(&self, anchor: Anchor, peer: Peer, request: &EnrolRequest) -> Result<EnrolResponse, ClientError> {
        self.call(Port::Enrol)?;
        let mut world = self.0.lock();
        let csr = request_from_pem(&request.certificate_request).unwrap();
        let key = request_key(&csr).unwrap();
        assert_eq!(anchor.fingerprint(), world.branch.fingerprint());
        match &request.join_token {
            Some(secret) => {
                let facts = request.terminal.as_ref().unwrap();
                assert_eq!((secret.as_str(), facts.name.as_str()), (JOIN, "till-1"));
                assert_eq!((facts.model.as_str(), facts.slot_bytes), ("kiosk", 400_000));
            }
            None if request.certificate.is_some() => {
                assert_eq!(request.terminal.as_ref().unwrap().name.as_str(), "till-1");
                if !world.readmits {
                    return Err(refused(Code::BadField));
                }
            }
            None => {
                assert!(request.terminal.is_none() && matches!(anchor, Anchor::Known(_)));
                if world.known_key != Some(key) {
                    return Err(refused(Code::JoinRefused));
                }
            }
        }
        if let Some(code) = world.turned_away.filter(|code| *code != Code::Unauthenticated) {
            return Err(refused(code));
        }
        (world.known_key, world.turned_away) = (Some(key), None);
        world.signer = request_signer(&csr).unwrap();
        world.certified.push(peer);
        let answer = world.branch.certify(&csr, &"till-1".parse().unwrap(), world.now).unwrap();
        drop(world);
        // It may be killed before it hears the answer.
        self.0.kill.point();
        Ok(answer)
    }

    async fn sync(&self) -> Result<Sync, ClientError> {
        self.known(Port::Sync)?;
        let mut world = self.0.lock();
        let (forged, plan, now) = (world.forged.clone(), world.plan.clone(), world.now);
        let plan = forged.or_else(|| plan.map(|p| world.fleet.order(&p, now).unwrap()));
        let metadata = world.mirror.as_ref().map_or_else(|| world.fleet.version(), |(_, hint)| *hint);
        Ok(Sync { plan, available: Vec::new(), metadata, denied: None })
    }

    async fn metadata(&self, name: &str) -> Result<Option<ByteStream>, ClientError> {
        self.known(Port::Metadata)?;
        let world = self.0.lock();
        let file = match &world.mirror {
            Some((files, _)) => files.get(name).cloned(),
            None => world.fleet.files().remove(name),
        };
        Ok(file.map(|bytes| Box::pin(futures_util::stream::iter([Ok(Bytes::from(bytes))])) as ByteStream))
    }

    async fn manifest(&self, wanted: &Digest, max: usize) -> Result<Bytes, ClientError> {
        self.known(Port::Manifest)?;
        let release = self.find(|r| digest(&r.manifest) == *wanted)?;
        assert!(release.manifest.len() <= max);
        Ok(release.manifest.into())
    }

    async fn index(&self, artifact: &ArtifactRef, max: usize) -> Result<Bytes, ClientError> {
        self.known(Port::Index)?;
        let release = self.find(|r| r.artifact.sha256 == artifact.sha256)?;
        assert!(release.index.len() <= max);
        Ok(release.index.into())
    }

    async fn torrent(&self, artifact: &ArtifactRef, _: usize) -> Result<Bytes, ClientError> {
        self.known(Port::Torrent)?;
        let release = self.find(|r| r.artifact.sha256 == artifact.sha256)?;
        let tracker = self.0.lock().tracker.clone();
        // A mirror that slips in a foreign tracker.
        Ok(release.torrent.to_file(&[vec![tracker], vec![FOREIGN_TRACKER.into()]]).into())
    }

    async fn report(&self, batch: &Batch) -> Result<Acknowledged, ClientError> {
        self.known(Port::Report)?;
        let mut world = self.0.lock();
        if let Some((_, answer)) = world.continued.filter(|(epoch, _)| *epoch == batch.epoch) {
            return answer.map(Acknowledged::all).map_err(refused);
        }
        if world.epochs.last() != Some(&batch.epoch) {
            world.epochs.push(batch.epoch);
            world.reports.clear();
        }
        let begin = world.reports.last().map_or(0, |r| r.seq);
        for report in &batch.reports {
            let last = world.reports.last().map_or(0, |r| r.seq);
            assert!(report.seq <= last + 1, "a gap: {} after {last}", report.seq);
            if let Report::Update { terminal, update } = &report.report {
                let signer = world.signer.unwrap();
                let holds = |statement: &str, proof: &str| signer.verify_text(statement, proof);
                assert!(update.proven(&"north".parse().unwrap(), terminal, holds), "not signed: {update:?}");
                let earlier = world.reports.iter().filter(|known| known.seq < report.seq);
                let newest = earlier.filter_map(|known| position(&known.report)).max();
                assert!(position(&report.report) > newest, "the position does not rise: {update:?} after {newest:?}");
                if let Some(statement) = update.evidence_statement(&"north".parse().unwrap(), terminal) {
                    let proof = update.evidence.as_ref().unwrap().proof.as_deref().unwrap_or_default();
                    assert!(world.signer.unwrap().verify_text(&statement, proof), "not signed: {update:?}");
                }
            }
            match world.reports.iter().find(|r| r.seq == report.seq) {
                Some(known) => assert_eq!(known, report, "a report changed after it was sent"),
                None => world.reports.push(report.clone()),
            }
        }
        let through = world.reports.last().map_or(begin, |r| r.seq);
        drop(world);
        self.0.kill.point();
        Ok(Acknowledged::all(through))
    }

    async fn healthy(&self) -> Result<(), ClientError> {
        self.call(Port::Healthy)
    }

    async fn listen(&self, _: &Notify) -> Result<(), ClientError> {
        std::future::pending().await
    }
}

/// Where a signed state stands among those of its terminal.
fn position(report: &Report) -> Option<u64> {
    let Report::Update { update, .. } = report else { return None };
    update.position.as_ref().map(|position| position.number)
}
