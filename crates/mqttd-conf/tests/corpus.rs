//! Every file of `tests/conf` with the golden text of what it means or what is wrong with it.
//! `MQTTD_BLESS=1` rewrites the golden files.

mod support;

use std::path::{Path, PathBuf};

use mqttd_conf::{Config, Disk};

#[test]
fn every_file_means_what_its_golden_file_says() {
    let mut files: Vec<PathBuf> = std::fs::read_dir("tests/conf")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "conf"))
        .collect();
    files.sort();
    assert!(files.len() > 20, "{} files", files.len());
    for file in files {
        let found = support::outcome(&Disk, &file);
        support::check_golden(&file.with_extension("golden"), &found);
    }
}

#[test]
fn every_golden_file_has_its_file() {
    for entry in std::fs::read_dir("tests/conf").unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "golden") {
            assert!(path.with_extension("conf").exists(), "{}", path.display());
        }
    }
}

#[test]
fn an_empty_file_is_the_default() {
    let (config, warnings) = Config::load(&Disk, Path::new("tests/conf/empty.conf")).unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(config, Config::with_ports(&[]));
    assert!(warnings.is_empty());
}

#[test]
fn the_articles_lines_mean_what_the_article_means() {
    let (config, warnings) = Config::load(&Disk, Path::new("tests/conf/article.conf")).unwrap();
    let auth = &config.listeners[0].auth;
    assert!(!auth.allow_anonymous);
    assert_eq!(auth.password_file.as_deref(), Some(Path::new("/etc/mosquitto/pwfile")));
    assert_eq!(warnings.len(), 3, "{warnings:?}");
}

#[test]
fn ports_count_only_without_listeners() {
    let mut config = Config::default();
    assert!(config.set_ports(&[1884, 1885]));
    let addresses: Vec<String> =
        config.listeners.iter().map(|listener| listener.address.to_string()).collect();
    assert_eq!(
        addresses,
        [
            "port 1884 on 127.0.0.1",
            "port 1884 on ::1",
            "port 1885 on 127.0.0.1",
            "port 1885 on ::1"
        ]
    );
    assert_eq!(config, Config::with_ports(&[1884, 1885]));
    assert!(config.listeners.iter().all(|listener| listener.auth.allow_anonymous));

    let (mut config, _) = Config::load(&Disk, Path::new("tests/conf/article.conf")).unwrap();
    let before = config.clone();
    assert!(!config.set_ports(&[1884]));
    assert_eq!(config, before);
}

#[test]
fn a_missing_file_is_one_error() {
    let errors = Config::load(&Disk, Path::new("tests/conf/absent")).unwrap_err();
    assert_eq!(errors.len(), 1);
    assert!(errors[0].to_string().starts_with("tests/conf/absent: cannot be read: "));
}
