//! Layer `web`: the web inbox is installed, checked (types, lint, unit tests) and built into `web/dist`, from where
//! the binary takes it.

use std::fs;
use std::path::Path;

use crate::context::{Context, run, tool};
use crate::layer::{Layer, Outcome};

pub(crate) const LAYER: Layer = Layer { name: "web", run: web };

const FOLDER: &str = "web";

/// A copy of the lock file that `node_modules` was installed from. It lies inside, so that both go together.
const INSTALLED: &str = "node_modules/.installed-from.json";

fn web(context: &Context) -> Outcome {
    if !context.root.join(FOLDER).join("package.json").is_file() {
        return Outcome::Skipped("there is no web/package.json".into());
    }
    if tool(&["npm"]).is_none() {
        return Outcome::Skipped("npm is not installed".into());
    }
    install(context)
        .and_then(|()| run(context.program("npm", FOLDER).args(["run", "--silent", "check"])))
        .and_then(|()| run(context.program("npm", FOLDER).args(["run", "--silent", "build"])))
        .into()
}

/// `npm ci` takes a minute and empties `node_modules`; so only when the lock file is another one.
fn install(context: &Context) -> Result<(), String> {
    let folder = context.root.join(FOLDER);
    if is_installed(&folder) {
        return Ok(());
    }
    run(context.program("npm", FOLDER).args(["ci", "--no-audit", "--no-fund", "--loglevel=error"]))?;
    fs::copy(folder.join("package-lock.json"), folder.join(INSTALLED))
        .map(|_| ())
        .map_err(|e| format!("cannot note what was installed: {e}"))
}

fn is_installed(folder: &Path) -> bool {
    match (fs::read(folder.join("package-lock.json")), fs::read(folder.join(INSTALLED))) {
        (Ok(wanted), Ok(installed)) => wanted == installed,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Tree;

    #[test]
    fn packages_are_installed_again_when_the_lock_file_changes() {
        let tree = Tree::new().with("package-lock.json", "{\"a\":1}");
        assert!(!is_installed(tree.root()), "nothing was ever installed");
        let tree = tree.with(INSTALLED, "{\"a\":1}");
        assert!(is_installed(tree.root()));
        let tree = tree.with("package-lock.json", "{\"a\":2}");
        assert!(!is_installed(tree.root()));
    }
}
