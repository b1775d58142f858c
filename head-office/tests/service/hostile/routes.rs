//! What routes refuse by their own rules: uploads, releases, assignments, artifacts.

use fleet_types::Digest;
use service_kit::server::Role;
use uuid::Uuid;
use wire::Code;

use crate::hostile::world::{Case, JSON, Side, World};

const TUS: &str = "Tus-Resumable: 1.0.0";
const CHUNK: &str = "Content-Type: application/offset+octet-stream";

fn uploads(world: &World) -> Vec<Case> {
    let create = |name, headers: &[&str], code, says: &str| {
        let headers = [&[TUS], headers].concat();
        world.people(name, Role::ReleaseManager, "POST /v1/uploads", &headers, "", code, says)
    };
    let patch = |name, id: Uuid, headers: &[&str], body: &[u8], code, says: &str| {
        world.people(name, Role::ReleaseManager, &format!("PATCH /v1/uploads/{id}"), headers, body, code, says)
    };
    let bomb = format!("Upload-Metadata: {}", "filename YQ==,".repeat(5000));
    let (id, other) = (world.upload, Uuid::nil());
    vec![
        create("no length", &[], Code::BadRequest, "upload-length"),
        create("a negative length", &["Upload-Length: -1"], Code::BadRequest, "upload-length"),
        create("a length of nothing", &["Upload-Length: 0"], Code::BadField, "Upload-Length"),
        create("a huge length", &["Upload-Length: 18446744073709551615"], Code::TooLarge, "16777216.0 TiB"),
        create("a length beyond 64 bits", &["Upload-Length: 99999999999999999999"], Code::BadRequest, "upload-length"),
        create("metadata without end", &["Upload-Length: 10", &bomb], Code::BadField, "Upload-Metadata"),
        create(
            "metadata that is none",
            &["Upload-Length: 10", "Upload-Metadata: filename ***"],
            Code::BadField,
            "Upload-Metadata",
        ),
        world.people(
            "another tus",
            Role::ReleaseManager,
            "POST /v1/uploads",
            &["Tus-Resumable: 0.2.2", "Upload-Length: 10"],
            "",
            Code::UnsupportedVersion,
            "1.0.0",
        ),
        patch(
            "an upload that is not there",
            other,
            &[TUS, CHUNK, "Upload-Offset: 0"],
            b"x",
            Code::NotFound,
            &other.to_string(),
        ),
        patch("an offset that was", id, &[TUS, CHUNK, "Upload-Offset: 0"], b"x", Code::OffsetMismatch, "ends at 10"),
        patch("an offset beyond", id, &[TUS, CHUNK, "Upload-Offset: 5000"], b"x", Code::OffsetMismatch, "5000"),
        patch("no offset", id, &[TUS, CHUNK], b"x", Code::BadRequest, "upload-offset"),
        patch("more than announced", id, &[TUS, CHUNK, "Upload-Offset: 10"], &[7; 991], Code::TooLarge, "1000 bytes"),
        patch(
            "another media type",
            id,
            &[TUS, JSON, "Upload-Offset: 10"],
            b"x",
            Code::UnsupportedMediaType,
            "application/offset+octet-stream",
        ),
        world.people(
            "an upload's id that is none",
            Role::ReleaseManager,
            "PATCH /v1/uploads/..%2fx",
            &[TUS, CHUNK, "Upload-Offset: 0"],
            "x",
            Code::BadRequest,
            "The path",
        ),
    ]
}

pub fn cases(world: &World) -> Vec<Case> {
    let assign = |name, branch: &str, version: &str, code, says: &str| {
        let body = serde_json::json!({ "branch": branch, "product": "kiosk", "version": version }).to_string();
        world.people(name, Role::Operator, "POST /v1/assignments", &[JSON], body, code, says)
    };
    let approve = |name, id: Uuid, body: &str, code, says: &str| {
        let line = format!("POST /v1/releases/{id}/approve");
        world.people(name, Role::ReleaseManager, &line, &[JSON], body, code, says)
    };
    let get = |name, path: String, code, says: &str| world.north(name, &format!("GET {path}"), &[], "", code, says);
    let (unplanned, unknown) = (world.unplanned.sha256, Digest::new([9; 32]));
    let manifest = service_kit::token::hash("kiosk 2.0.0 manifest");
    let reason = |n: usize| serde_json::json!({ "reason": "x".repeat(n) }).to_string();
    let own = vec![
        assign("a release that nobody published", "north", "9.9.9", Code::NotPublished, "9.9.9"),
        assign("a branch that nobody added", "nowhere", "1.0.0", Code::NotFound, "nowhere"),
        assign("a release that fits nowhere there", "north", "2.0.0", Code::NothingToInstall, "till-1"),
        approve("an approval too early", world.upload, &reason(5), Code::WrongState, "uploading"),
        approve("an approval of nothing", Uuid::nil(), &reason(5), Code::NotFound, &Uuid::nil().to_string()),
        approve("an approval without a word", world.upload, &reason(0), Code::BadField, "reason"),
        approve("an approval of too many words", world.upload, &reason(1025), Code::BadField, "1024"),
        world.people(
            "a name that is taken",
            Role::Admin,
            "POST /v1/branches",
            &[JSON],
            "{\"name\":\"north\"}",
            Code::NameTaken,
            "north",
        ),
        get("an artifact that is not", wire::v1::paths::artifact_index(&unknown), Code::NotFound, &unknown.to_string()),
        get("no digest", "/v1/artifacts/xyz/torrent".into(), Code::BadRequest, "The path"),
        get("another's index", wire::v1::paths::artifact_index(&unplanned), Code::NotInYourPlan, "branch north"),
        get("another's torrent", wire::v1::paths::artifact_torrent(&unplanned), Code::NotInYourPlan, "branch north"),
        get("another's manifest", wire::v1::paths::manifest(&manifest), Code::NotInYourPlan, &manifest.to_string()),
        Case {
            to: Side::East,
            request: crate::hostile::world::request(
                None,
                &format!("GET {}", wire::v1::paths::artifact_index(&world.planned.sha256)),
                &[],
                "",
            ),
            says: "branch east".to_owned(),
            ..get("a neighbour's index", String::new(), Code::NotInYourPlan, "")
        },
    ];
    own.into_iter().chain(uploads(world)).collect()
}
