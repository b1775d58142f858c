//! The images that a lab works with: Debian ones from images/terminal, and small ones for quick tests.

use std::path::{Path, PathBuf};

use fleet_types::Version;

use crate::error::LabError;
use crate::exec::Tool;
use crate::recipe::write;

/// The root of the source tree: where the lab was built from.
pub fn source_root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().and_then(Path::parent).unwrap_or(own).to_owned()
}

/// A Debian image by its recipe's name (`v1`, `v2` …), as `images/terminal/build.sh` left it.
///
/// # Errors
/// It was not built.
pub fn debian_image(name: &str) -> Result<PathBuf, LabError> {
    let path = source_root().join("target/images").join(format!("{name}.squashfs"));
    path.canonicalize().map_err(|_| LabError::ImageMissing { path })
}

/// Makes sure that the Debian images of these recipes are there, and returns the path of each.
///
/// # Errors
/// The build failed.
pub async fn build_debian_images(names: &[&str]) -> Result<Vec<PathBuf>, LabError> {
    let recipes = source_root().join("images/terminal");
    let folders = names.iter().map(|name| recipes.join("versions").join(name));
    Tool::new(recipes.join("build.sh")).args(folders).run_async().await?;
    names.iter().map(|name| debian_image(name)).collect()
}

/// `IMAGE_VERSION` of an image's os-release.
///
/// # Errors
/// It is no squashfs, or has no version.
pub fn image_version(image: &Path) -> Result<Version, LabError> {
    image_version_at(image, 0)
}

/// `IMAGE_VERSION` of an image that lies so many bytes within a file.
pub(crate) fn image_version_at(image: &Path, offset: u64) -> Result<Version, LabError> {
    let tool = Tool::new("unsquashfs").args(["-offset", &offset.to_string(), "-cat"]);
    let text = tool.arg(image).arg("etc/os-release").run()?;
    let wrong = |why: String| LabError::Content { path: image.to_owned(), why };
    let value = text.lines().find_map(|l| l.strip_prefix("IMAGE_VERSION="));
    let value = value.ok_or_else(|| wrong("its os-release has no IMAGE_VERSION".into()))?.trim_matches('"');
    value.parse().map_err(|e| wrong(format!("IMAGE_VERSION={value}: {e}")))
}

/// A small image: boots in the lab like a Debian one, but holds little more than its version and its health check.
#[derive(Debug, Clone)]
pub struct SmallImage {
    /// `IMAGE_VERSION`.
    pub version: String,
    /// Bytes of noise, which no compression makes smaller.
    pub noise: usize,
    /// The noise lies among zeros, and takes this many times its own room: what compression makes smaller so often, as
    /// about four times for a root filesystem.
    pub thin: usize,
    /// Bytes of zeros.
    pub zeros: u64,
    /// The health check, a shell script; healthy by default.
    pub health: String,
}

impl SmallImage {
    /// A healthy one of this version with a little noise.
    pub fn new(version: &str) -> Self {
        Self {
            version: version.to_owned(),
            noise: 100_000,
            thin: 1,
            zeros: 0,
            health: "#!/bin/sh\ngrep -q ^IMAGE_VERSION= \"$FILIAL_ROOT/etc/os-release\"\n".to_owned(),
        }
    }

    /// With so many bytes of noise.
    #[must_use]
    pub fn with_noise(self, noise: usize) -> Self {
        Self { noise, ..self }
    }

    /// With its noise among zeros, `times` its own room.
    #[must_use]
    pub fn thinned(self, times: usize) -> Self {
        Self { thin: times, ..self }
    }

    /// Whose health check fails and says why.
    #[must_use]
    pub fn unhealthy(self, why: &str) -> Self {
        Self { health: format!("#!/bin/sh\necho '{why}'\nexit 1\n"), ..self }
    }
}

/// Thinned noise comes in blocks of so many bytes.
const NOISE_BLOCK: usize = 4096;

/// Makes a small image in `folder`; returns its path.
///
/// # Errors
/// A file cannot be written or mksquashfs fails.
pub fn small_image(folder: &Path, image: &SmallImage) -> Result<PathBuf, LabError> {
    let tree = folder.join(format!("tree-{}", image.version));
    let health = tree.join("etc/terminal-agent/health.d");
    std::fs::create_dir_all(&health).map_err(LabError::file("create", &health))?;
    let os_release = format!("NAME=small\nIMAGE_ID=filial-terminal\nIMAGE_VERSION={}\n", image.version);
    write(&tree.join("etc/os-release"), os_release)?;
    let check = health.join("10-small");
    write(&check, &image.health)?;
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&check, executable).map_err(LabError::file("set the mode of", &check))?;
    let mut noise = vec![0; image.noise.saturating_mul(image.thin)];
    for block in noise.chunks_mut(image.thin.max(1).saturating_mul(NOISE_BLOCK)) {
        let dense = block.len().div_ceil(image.thin.max(1));
        rand::Rng::fill_bytes(&mut rand::rng(), &mut block[..dense]);
    }
    write(&tree.join("noise"), noise)?;
    let zeros = tree.join("zeros");
    let sized = std::fs::File::create(&zeros).and_then(|f| f.set_len(image.zeros));
    sized.map_err(LabError::file("create", &zeros))?;
    let path = folder.join(format!("small-{}.squashfs", image.version));
    let plain = ["-noappend", "-noI", "-noD", "-noF", "-noX", "-no-sparse", "-all-root", "-no-progress", "-quiet"];
    Tool::new("mksquashfs").arg(&tree).arg(&path).args(plain).run()?;
    std::fs::remove_dir_all(&tree).map_err(LabError::file("remove", &tree))?;
    Ok(path)
}
