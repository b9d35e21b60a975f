//! `faultless image`: made, layered, looked at, checked, squashed, and turned back.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;

use crate::support::{Run, need, need_some, snapshots_work};
use crate::target::{Folder, Target};

const PAGE: usize = 4096;

/// Memory of 2 MiB, mostly zeros, with pages that tell their seed.
fn memory(seed: u8) -> Vec<u8> {
    let mut memory = vec![0; 512 * PAGE];
    for page in [0, 1, 17, 300, 511] {
        let content = &mut memory[page * PAGE..][..PAGE];
        let number = u8::try_from(page % 256).expect("below 256");
        for (at, byte) in (0u16..).zip(content) {
            let [low, high] = at.to_le_bytes();
            *byte = number ^ seed.wrapping_mul(low) ^ high;
        }
    }
    memory
}

fn done(arguments: &[&str]) -> Run {
    let run = Run::faultless(&[&["image"], arguments].concat());
    assert_eq!(run.code, Some(0), "{arguments:?}: {}{}", run.stdout, run.stderr);
    run
}

/// Exports an image and returns its memory.
fn export(folder: &Folder, image: &str) -> Vec<u8> {
    let out = folder.file("out.mem");
    done(&["export", image, "-o", &out, "--force"]);
    fs::read(out).expect("the memory")
}

#[test]
fn memory_comes_back_from_an_image_its_layer_and_the_squashed_one() {
    let folder = Folder::new("image-layers");
    let [first, second] = ["first.mem", "second.mem"].map(|name| folder.file(name));
    let [base, top, alone] = ["base.flt", "top.flt", "alone.flt"].map(|name| folder.file(name));
    let (old, mut new) = (memory(1), memory(1));
    new[100 * PAGE..101 * PAGE].fill(9);
    new[17 * PAGE] ^= 1;
    fs::write(&first, &old).expect("room");
    fs::write(&second, &new).expect("room");
    let base_options = ["--chunk", "4KiB", "--codec", "lz4", "--json"];
    let made = done(&[&["create", &first, "-o", &base][..], &base_options].concat()).json();
    assert_eq!(made["stored_chunks"], 5, "{made}");
    let made = done(&["create", &second, "-o", &top, "--parent", &base, "--json"]).json();
    assert_eq!((&made["stored_chunks"], &made["filled_chunks"]), (&1.into(), &1.into()), "{made}");
    done(&["squash", &top, "-o", &alone]);
    assert!(export(&folder, &base) == old);
    assert!(export(&folder, &top) == new);
    fs::remove_file(&base).expect("ours");
    assert!(export(&folder, &alone) == new);
    let run = Run::faultless(&["image", "inspect", &top]);
    run.expect_error(4, &["top.flt is a layer over base.flt", "; bring that image back"]);
    assert!(done(&["check", &alone]).stdout.contains("whole; 1 layers"));
}

#[test]
fn the_summary_names_layers_and_regions() {
    let folder = Folder::new("image-summary");
    let (raw, image) = (folder.file("raw"), folder.file("vm.flt"));
    fs::write(&raw, memory(2)).expect("room");
    done(&["create", &raw, "-o", &image]);
    let summary = done(&["inspect", &image, "--json"]).json();
    assert_eq!(summary["memory_bytes"], 512 * PAGE);
    assert_eq!(summary["chunk_bytes"], 65536);
    assert_eq!(summary["layers"][0]["object"], "vm.flt");
    let text = done(&["inspect", &image, "--all"]).stdout;
    for part in ["2 MiB", "64 KiB", "vm.flt", "rwx"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

#[test]
fn one_flipped_bit_is_found_and_never_exported() {
    let folder = Folder::new("image-flipped");
    let (raw, image) = (folder.file("raw"), folder.file("vm.flt"));
    fs::write(&raw, memory(3)).expect("room");
    done(&["create", &raw, "-o", &image, "--codec", "none", "--chunk", "4KiB"]);
    let file = OpenOptions::new().read(true).write(true).open(&image).expect("our image");
    let mut byte = [0];
    file.read_exact_at(&mut byte, 10_000).expect("within the chunks");
    file.write_all_at(&[byte[0] ^ 1], 10_000).expect("within the chunks");
    let run = Run::faultless(&["image", "check", &image]);
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("damaged; 1 checks failed"), "{}", run.stdout);
    let out = folder.file("out");
    let run = Run::faultless(&["image", "export", &image, "-o", &out]);
    run.expect_error(4, &["does not match its digest", "; "]);
    assert!(!fs::exists(&out).expect("a folder of ours"));
}

#[test]
fn wrong_wishes_are_refused_with_the_way_out() {
    let folder = Folder::new("image-usage");
    let (raw, image) = (folder.file("raw"), folder.file("vm.flt"));
    fs::write(&raw, memory(4)).expect("room");
    done(&["create", &raw, "-o", &image]);
    let refused = |code, arguments: &[&str], parts: &[&str]| {
        Run::faultless(&[&["image"], arguments].concat()).expect_error(code, parts);
    };
    refused(2, &["create", &raw, "-o", &image], &["exists", "--force"]);
    let other = folder.file("other.flt");
    refused(2, &["create", &image, "-o", &other], &["is an image already", "; squash"]);
    let core = folder.file("core");
    fs::write(&core, b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x04\0").expect("room");
    refused(2, &["create", &core, "-o", &other], &["ELF core", "; use faultless image import"]);
    let chunk = ["create", &raw, "-o", &other, "--parent", &image, "--chunk", "4KiB"];
    refused(2, &chunk, &["one size", "; leave --chunk away"]);
    let itself = ["create", &raw, "-o", &image, "--parent", &image, "--force"];
    refused(2, &itself, &["layer over itself", "; choose another name"]);
    let elsewhere = Folder::new("image-elsewhere").file("a.flt");
    let away = ["create", &raw, "-o", &elsewhere, "--parent", &image];
    refused(2, &away, &["different folders", "; put the layer beside"]);
    let core = ["export", &image, "-o", &other, "--to", "core"];
    refused(2, &core, &["holds no registers", "; export it --to raw"]);
    refused(4, &["check", &raw], &["magic", "; the file is no image"]);
    refused(4, &["create", "/nonexistent", "-o", &other], &["/nonexistent", "; check"]);
    refused(4, &["import", &raw, "-o", &other], &["magic", "; "]);
}

#[test]
fn an_image_made_anew_is_not_taken_for_the_parent_it_was() {
    let folder = Folder::new("image-anew");
    let [raw, base, top] = ["raw", "base.flt", "top.flt"].map(|name| folder.file(name));
    fs::write(&raw, memory(5)).expect("room");
    done(&["create", &raw, "-o", &base]);
    done(&["create", &raw, "-o", &top, "--parent", &base]);
    fs::write(&raw, memory(6)).expect("room");
    done(&["create", &raw, "-o", &base, "--force"]);
    let run = Run::faultless(&["image", "check", &top]);
    run.expect_error(4, &["top.flt", "base.flt", "has id", "; bring back"]);
}

/// Writes what CRIU writes for one process: runs of (address, pages, flags), and the pages.
fn write_criu(folder: &str, runs: &[(u64, u64, u8)], pages: &[u8]) {
    fs::create_dir_all(folder).expect("a folder of ours");
    let varint = |mut value: u64| {
        let mut out = Vec::new();
        while value >= 0x80 {
            out.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        out.push(value.to_le_bytes()[0]);
        out
    };
    let mut map = [0x5456_4319u32, 0x5608_4025].map(u32::to_le_bytes).concat();
    let mut message = |content: &[u8]| {
        map.extend(u32::try_from(content.len()).expect("short").to_le_bytes());
        map.extend(content);
    };
    message(&[0x08, 7]);
    for &(address, pages, flags) in runs {
        let fields = [&[0x08][..], &varint(address), &[0x10], &varint(pages), &[0x20, flags]];
        message(&fields.concat());
    }
    fs::write(format!("{folder}/pagemap-42.img"), map).expect("room");
    fs::write(format!("{folder}/pages-7.img"), pages).expect("room");
}

#[test]
fn pages_of_criu_are_found_at_their_addresses_those_of_earlier_dumps_too() {
    let folder = Folder::new("image-criu");
    let (below, dump) = (folder.file("below"), folder.file("dump"));
    let page = |n: u8| [n, 0].repeat(PAGE / 2);
    write_criu(&below, &[(0x10000, 3, 4)], &[page(1), page(2), page(3)].concat());
    // Page 1 is new, 2 and 3 as before; far away one more.
    let runs = [(0x10000, 1, 4), (0x11000, 2, 1), (0x7f00_0000_0000, 1, 6)];
    write_criu(&dump, &runs, &[page(4), page(5)].concat());
    std::os::unix::fs::symlink("../below", format!("{dump}/parent")).expect("a link");
    let image = folder.file("p.flt");
    done(&["import", &dump, "-o", &image, "--chunk", "8KiB"]);
    let summary = done(&["inspect", &image, "--json"]).json();
    let memory = export(&folder, &image);
    let mut found = Vec::new();
    for region in summary["regions"].as_array().expect("a list") {
        let number = |name: &str| region[name].as_u64().expect("a number");
        let at = usize::try_from(number("offset")).expect("small");
        let len = usize::try_from(number("held_bytes")).expect("small");
        found.push((number("start"), memory[at..at + len].to_vec()));
    }
    let wanted = [(0x10000, [page(4), page(2), page(3)].concat()), (0x7f00_0000_0000, page(5))];
    assert!(found == wanted, "{summary}");
    let run = Run::faultless(&["image", "import", &dump, "-o", &image, "--pid", "1", "--force"]);
    run.expect_error(2, &["holds processes 42", "; choose one of them with --pid"]);
    write_criu(&dump, &[(0x10000, 1, 2)], &[]);
    let run = Run::faultless(&["image", "import", &dump, "-o", &image, "--force"]);
    run.expect_error(4, &["left with the source", "; take the dump again"]);
}

#[test]
fn a_core_becomes_an_image_of_the_same_memory() {
    need!(snapshots_work(), "needs the right to take snapshots; see faultless doctor");
    let folder = Folder::new("image-core");
    let target = need_some!(Target::start(&["busy", "2"]));
    let [core, image] = ["core", "p.flt"].map(|name| folder.file(name));
    let run = Run::faultless(&["snapshot", &target.pid(), "-o", &core, "--compress"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    done(&["import", &core, "-o", &image, "--chunk", "4KiB"]);
    let held = Run::faultless(&["inspect", &core, "--json"]).json();
    let summary = done(&["inspect", &image, "--json"]).json();
    let regions = summary["regions"].as_array().expect("a list");
    assert_eq!(regions.len(), held["segments"].as_array().expect("a list").len());
    let bytes: u64 = regions.iter().filter_map(|region| region["held_bytes"].as_u64()).sum();
    assert_eq!(Some(bytes), held["dumped_bytes"].as_u64());
    assert_eq!(done(&["check", &image, "--json"]).json()["whole"], true);
    let back = folder.file("back");
    done(&["export", &image, "-o", &back, "--to", "core"]);
    let run = Run::faultless(&["inspect", &back, "--json"]);
    assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
    for same in ["segments", "threads", "files", "pid", "cmdline", "arch"] {
        assert_eq!(run.json()[same], held[same], "{same}");
    }
    let pages = |report: &serde_json::Value| report["verification"]["data_pages"].clone();
    assert_eq!(pages(&run.json()), pages(&held));
    // And the core made of the image is the same memory again.
    let again = folder.file("again.flt");
    let made = ["import", &back, "-o", &again, "--parent", &image, "--json"];
    assert_eq!(done(&made).json()["stored_chunks"], 0);
}

#[test]
fn a_sparse_file_stays_sparse() {
    let folder = Folder::new("image-sparse");
    let (raw, image, out) = (folder.file("raw"), folder.file("vm.flt"), folder.file("out"));
    let file = File::create(&raw).expect("room");
    file.set_len(1 << 30).expect("a hole");
    file.write_all_at(b"content", 1 << 29).expect("room");
    done(&["create", &raw, "-o", &image, "--chunk", "2MiB"]);
    assert!(fs::metadata(&image).expect("our image").len() < 4096);
    done(&["export", &image, "-o", &out]);
    let written = fs::metadata(&out).expect("the memory");
    assert_eq!(written.len(), 1 << 30);
    let blocks = std::os::unix::fs::MetadataExt::blocks(&written);
    assert!(blocks * 512 <= 4 << 20, "{blocks} blocks");
}
