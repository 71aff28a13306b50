// Shards of a cohort as tasks, and a last task that says how it went:
//   nextflow run main.nf --slides slides.csv --out out --shards 8 -resume
// All tasks write into one folder, so `out` and the slides lie on a disk that all machines share.
params.slides = 'slides.csv'
params.out = 'out'
params.shards = 8
params.flags = ''

process SHARD {
    tag "${shard}"
    cpus 8
    memory { 32.GB * task.attempt }
    // 75: others still work on its slides; 130 and 143: interrupted; 137: killed, perhaps for its memory
    errorStrategy { task.exitStatus in [75, 130, 137, 143] ? 'retry' : 'ignore' }
    maxRetries 3

    input:
    val shard
    val slides
    val out

    output:
    val shard

    script:
    """
    slidenet run --slides '${slides}' --out '${out}' --shard ${shard}/${params.shards} ${params.flags}
    """
}

process FINISH {
    cpus 8
    memory { 32.GB * task.attempt }
    errorStrategy { task.exitStatus in [75, 130, 137, 143] ? 'retry' : 'terminate' }
    maxRetries 3
    cache false

    input:
    val shards
    val slides
    val out

    script:
    """
    slidenet run --slides '${slides}' --out '${out}' ${params.flags}
    """
}

workflow {
    slides = file(params.slides, checkIfExists: true).toAbsolutePath()
    out = file(params.out).toAbsolutePath()
    done = SHARD(Channel.of(1..params.shards), slides, out)
    FINISH(done.collect().ifEmpty([]), slides, out)
}
