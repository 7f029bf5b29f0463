//! What `wit-bindgen` generates from `wit/v0.1`: the canonical ABI.
//!
//! Each interface is generated once, in a small world of its own, because three whole worlds would define `lifecycle` thrice. The worlds that
//! a plugin's macro uses are merged when the component is linked, and imports that nothing calls are left out.
//!
//! This is the only unsafe code of a plugin: the canonical ABI is raw pointers. The workspace denies `unsafe_code`, but rustc does not apply that
//! lint to what a macro of another crate writes, here or where a plugin calls the export macros: what is written by hand stays safe.
//!
//! Not part of the SDK's promise: plugins see it through [`crate::validator!`], [`crate::transformer!`] and [`crate::cipher!`] alone.

pub use wit_bindgen;

/// What validators and transformers may import.
pub mod imports {
    wit_bindgen::generate!({
        inline: "package tidegate:sdk-imports; world imports { import tidegate:plugin/log@0.1.0; import tidegate:plugin/clock@0.1.0; import tidegate:plugin/random@0.1.0; }",
        path: "../../wit/v0.1",
        generate_all,
    });
}

/// The export of every step.
pub mod lifecycle {
    wit_bindgen::generate!({
        inline: "package tidegate:sdk-lifecycle; world lifecycle { export tidegate:plugin/lifecycle@0.1.0; }",
        path: "../../wit/v0.1",
        with: { "tidegate:plugin/types@0.1.0": crate::types },
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_lifecycle",
        default_bindings_module: "tidegate_plugin::bindings::lifecycle",
        runtime_path: "tidegate_plugin::bindings::wit_bindgen::rt",
    });
}

/// The export of validators.
pub mod validation {
    wit_bindgen::generate!({
        inline: "package tidegate:sdk-validation; world validation { export tidegate:plugin/validation@0.1.0; }",
        path: "../../wit/v0.1",
        with: { "tidegate:plugin/types@0.1.0": crate::types },
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_validation",
        default_bindings_module: "tidegate_plugin::bindings::validation",
        runtime_path: "tidegate_plugin::bindings::wit_bindgen::rt",
    });
}

/// The export of transformers.
pub mod transformation {
    wit_bindgen::generate!({
        inline: "package tidegate:sdk-transformation; world transformation { export tidegate:plugin/transformation@0.1.0; }",
        path: "../../wit/v0.1",
        with: { "tidegate:plugin/types@0.1.0": crate::types },
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_transformation",
        default_bindings_module: "tidegate_plugin::bindings::transformation",
        runtime_path: "tidegate_plugin::bindings::wit_bindgen::rt",
    });
}

/// The export and the import of ciphers.
pub mod sealing {
    wit_bindgen::generate!({
        inline: "package tidegate:sdk-sealing; world sealing { import tidegate:plugin/crypto@0.1.0; export tidegate:plugin/sealing@0.1.0; }",
        path: "../../wit/v0.1",
        with: { "tidegate:plugin/types@0.1.0": crate::types },
        generate_all,
        pub_export_macro: true,
        export_macro_name: "export_sealing",
        default_bindings_module: "tidegate_plugin::bindings::sealing",
        runtime_path: "tidegate_plugin::bindings::wit_bindgen::rt",
    });
}
