//! Compiles one capture: `compile CAPTURE OUTDIR [--keys FILE] [--password PASSWORD]`.

use std::{env, error::Error, fs, fs::File, path::Path};

use smbench_compiler::{CompileOptions, Passwords, SessionKeys, compile};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = env::args().skip(1);
    let capture = args.next().ok_or("no capture")?;
    let out = args.next().ok_or("no folder to write to")?;
    let mut options = CompileOptions::default();
    while let (Some(option), Some(value)) = (args.next(), args.next()) {
        match option.as_str() {
            "--keys" => options.keys = SessionKeys::read_list(&fs::read(value)?)?,
            "--password" => {
                options.passwords = Passwords::of_everybody(&value);
            }
            other => return Err(format!("unknown option {other}").into()),
        }
    }
    let name = Path::new(&capture).file_name().unwrap_or_default();
    let name = name.to_string_lossy().into_owned();
    let input = Box::new(File::open(&capture)?);
    let compiled = compile(vec![(name, input)], options, Path::new(&out))?;
    println!("{:#?}", compiled.workload.coverage);
    println!("{} namespace entries", compiled.namespace);
    Ok(())
}
