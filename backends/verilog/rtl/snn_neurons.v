// Integrate-and-fire neurons, one membrane each in memory, LANES at a time.
//
//     gather   add what the ports bring until all of them show the token of the step
//     scan     u = V + I + b, spike if u ≥ θ, V = u − θ·spike for every word; spikes leave as events
//     token    send the token of the step; at the end of the sample
//     clear    V = v_init, I = 0
//
// RATE: gather, scan and token T times; I is a constant input's current, added at every step. Otherwise the
// neurons integrate first, then fire: one gather, T scans without input (b only in the first), one token.
module snn_neurons #(
    parameter LANES = 8, parameter BITS = 16, parameter STEPS = 1, parameter RATE = 1,
    parameter CHANNELS = 1, parameter ROWS = 1, parameter COLUMNS = 1,
    parameter SIGNED = 0,       // a spike of −1 where u < 0
    parameter RECTIFIED = 0,    // rather where u < −θ/2, and only while the spikes sent add up to more than 0
    parameter ZERO = 0,         // reset to 0 instead of by subtraction
    parameter STRICT = 0,       // spike if u > θ
    parameter HELD = 0,         // whether a port brings a constant current
    parameter SATURATED = 0,    // bits that u is limited to, once per step; 0: proved to fit
    parameter PHASES = 0,       // events carry their step
    parameter BIAS_BITS = 1, parameter BIAS_SPAN = 0, parameter BIAS_ROWS = 1, parameter BIAS_STEPS = 1,
    parameter THRESHOLD_BITS = 2, parameter THRESHOLD_SPAN = 0,
    parameter THRESHOLD_ROWS = 1, parameter THRESHOLD_STEPS = 1,
    parameter INIT_BITS = 1, parameter INIT_SPAN = 0, parameter INIT_ROWS = 1,
    parameter BIAS = "", parameter THRESHOLD = "", parameter INIT = "",
    parameter GROUPS = (CHANNELS + LANES - 1) / LANES,
    parameter WORDS = GROUPS * ROWS * COLUMNS,
    parameter WORD = (WORDS > 1) ? $clog2(WORDS) : 1,
    parameter CHANNEL = (CHANNELS > 1) ? $clog2(CHANNELS) : 1,
    parameter ROW = (ROWS > 1) ? $clog2(ROWS) : 1,
    parameter COLUMN = (COLUMNS > 1) ? $clog2(COLUMNS) : 1,
    parameter STEP = (STEPS > 1) ? $clog2(STEPS) : 1,
    parameter EXTRA = (PHASES > 1) ? STEP + 1 : 1
) (
    input wire clk,
    input wire reset,
    // from the ports
    input wire in_valid,
    output wire in_ready,
    input wire in_held,
    input wire [WORD-1:0] in_target,
    input wire [LANES*BITS-1:0] in_data,
    input wire complete,
    output wire end_of_step,
    output wire end_of_sample,
    // events {token, extra, channel, row, column}
    output wire out_valid,
    input wire out_ready,
    output wire [EXTRA+CHANNEL+ROW+COLUMN:0] out_data,
    output wire busy            // works, and does not wait for others
);
    localparam GROUP = (GROUPS > 1) ? $clog2(GROUPS) : 1;
    localparam [1:0] CLEAR = 0, GATHER = 1, SCAN = 2, TOKEN = 3;

    localparam LAST_STEP = STEPS - 1;

    reg [1:0] state;
    reg entering;               // the first cycle of a state
    reg [STEP-1:0] step;
    wire last_step = step == LAST_STEP[STEP-1:0];

    // a pass, in four stages: address, memory, membrane, spikes
    wire move, fetch, drained, spikes_left;
    wire scanned = drained && !spikes_left;
    wire next_step = state == SCAN && scanned && !RATE || end_of_step && !end_of_sample;
    wire [WORD-1:0] word;
    wire [GROUP-1:0] group;
    wire y_valid;
    wire [GROUP+ROW+COLUMN-1:0] y_place;
    wire [LANES*BITS-1:0] u;
    reg [LANES*BITS-1:0] written;
    // only a count of spikes is kept beside the membranes
    // verilator lint_off UNUSEDSIGNAL
    wire store;
    wire [WORD-1:0] store_word;
    // verilator lint_on UNUSEDSIGNAL
    snn_integrator #(
        .LANES(LANES), .BITS(BITS), .GROUPS(GROUPS), .ROWS(ROWS), .COLUMNS(COLUMNS), .WORDS(WORDS),
        .GROUP(GROUP), .ROW(ROW), .COLUMN(COLUMN), .WORD(WORD), .HELD(HELD), .SATURATED(SATURATED),
        .BIAS_BITS(BIAS_BITS), .BIAS_SPAN(BIAS_SPAN), .BIAS_ROWS(BIAS_ROWS), .BIAS_STEPS(BIAS_STEPS), .BIAS(BIAS)
    ) integrator (
        .clk(clk), .reset(reset),
        .in_valid(in_valid && in_ready), .in_held(in_held), .in_target(in_target), .in_data(in_data),
        .start(entering), .clear(state == CLEAR), .move(move),
        .biased(RATE || step == 0), .next_step(next_step), .restart(end_of_sample),
        .fetch(fetch), .group(group), .word(word),
        .y_valid(y_valid), .y_place(y_place), .u(u), .written(written), .drained(drained),
        .store(store), .store_word(store_word)
    );

    localparam COUNT = $clog2(STEPS + 1);
    wire [LANES*COUNT-1:0] counts;
    // verilator lint_off UNUSEDSIGNAL
    reg [LANES*COUNT-1:0] sent, counted;
    // verilator lint_on UNUSEDSIGNAL
    generate
        if (RECTIFIED) begin : counting
            snn_ram #(.WIDTH(LANES * COUNT), .DEPTH(WORDS)) count (
                .clk(clk),
                .read(fetch), .read_address(word), .read_data(counts),
                .write(store), .write_address(store_word),
                .write_data(state == CLEAR ? {LANES*COUNT{1'b0}} : counted)
            );
        end else begin : uncounted
            assign counts = 0;
        end
    endgenerate

    wire [LANES*INIT_BITS-1:0] init;
    wire [LANES*THRESHOLD_BITS-1:0] threshold;
    snn_parameter #(
        .WIDTH(LANES * INIT_BITS), .SPAN(INIT_SPAN), .ROWS(INIT_ROWS), .GROUP(GROUP), .WORD(WORD), .FILE(INIT)
    ) v_init (
        .clk(clk), .restart(reset), .next_step(1'b0), .enable(fetch),
        .group(group), .word(word), .data(init)
    );
    snn_parameter #(
        .WIDTH(LANES * THRESHOLD_BITS), .SPAN(THRESHOLD_SPAN), .ROWS(THRESHOLD_ROWS), .STEPS(THRESHOLD_STEPS),
        .GROUP(GROUP), .WORD(WORD), .FILE(THRESHOLD)
    ) theta (
        .clk(clk), .restart(reset || end_of_sample), .next_step(next_step), .enable(fetch),
        .group(group), .word(word), .data(threshold)
    );

    // Signed operands are extended to the width of a result; membranes are proved to fit into BITS.
    // verilator lint_off WIDTH
    reg [LANES*BITS-1:0] fired;
    localparam BOUND = THRESHOLD_BITS + (PHASES > 1 ? PHASES - 1 : 0);
    reg [LANES*THRESHOLD_BITS-1:0] limit;
    always @(posedge clk) if (move) begin
        limit <= threshold;
        sent <= counts;
    end

    reg [LANES-1:0] spikes, negative;
    reg signed [BITS-1:0] charge, left, first;
    reg signed [THRESHOLD_BITS-1:0] one;
    reg signed [BOUND-1:0] bound;
    reg signed [INIT_BITS-1:0] initial_;
    integer j, k;
    always @* begin
        for (j = 0; j < LANES; j = j + 1) begin
            charge = u[j*BITS +: BITS];
            one = limit[j*THRESHOLD_BITS +: THRESHOLD_BITS];
            bound = one;
            if (PHASES > 1) bound = bound <<< (PHASES - 1 - step);
            spikes[j] = STRICT ? charge > bound : charge >= bound;
            // under phase codes the smallest count that makes up for u takes part, not the largest below it
            if (RECTIFIED) negative[j] = RATE && charge < -(one >>> 1) && sent[j*COUNT +: COUNT] != 0;
            else negative[j] = SIGNED && (PHASES > 1 ? charge < one - bound : charge < 0);
            left = spikes[j] ? (ZERO ? 0 : charge - bound) : negative[j] ? (ZERO ? 0 : charge + bound) : charge;
            fired[j*BITS +: BITS] = left;
            counted[j*COUNT +: COUNT] = sent[j*COUNT +: COUNT] + spikes[j] - negative[j];
        end
    end

    always @* begin
        written = fired;
        for (k = 0; k < LANES; k = k + 1) begin
            initial_ = init[k*INIT_BITS +: INIT_BITS];
            first = initial_;
            if (state == CLEAR) written[k*BITS +: BITS] = first;
        end
    end
    // verilator lint_on WIDTH

    wire token = state == TOKEN;
    snn_serialiser #(
        .LANES(LANES), .PHASES(PHASES), .GROUP(GROUP), .CHANNEL(CHANNEL), .ROW(ROW), .COLUMN(COLUMN),
        .STEP(STEP), .EXTRA(EXTRA)
    ) serialiser (
        .clk(clk), .reset(reset),
        .in_ready(move), .in_valid(y_valid), .in_spikes(spikes | negative), .in_negative(negative),
        .in_place(y_place), .step(step), .token(token), .left(spikes_left),
        .out_valid(out_valid), .out_ready(out_ready), .out_data(out_data)
    );

    assign busy = state == CLEAR || (state == GATHER ? in_valid || complete : !out_valid || out_ready);
    assign in_ready = state == GATHER;
    assign end_of_step = token && out_ready;
    assign end_of_sample = end_of_step && (last_step || !RATE);

    always @(posedge clk) begin
        entering <= 1'b0;
        case (state)
            CLEAR: if (drained) state <= GATHER;
            GATHER: if (complete) begin
                state <= SCAN;
                entering <= 1'b1;
            end
            SCAN: if (scanned) begin
                if (RATE || last_step) state <= TOKEN;
                else begin
                    step <= step + 1'b1;
                    entering <= 1'b1;
                end
            end
            TOKEN: if (out_ready) begin
                state <= end_of_sample ? CLEAR : GATHER;
                entering <= end_of_sample;
                step <= end_of_sample ? 0 : step + 1'b1;
            end
        endcase
        if (reset) begin
            state <= CLEAR;
            entering <= 1'b1;
            step <= 0;
        end
    end
endmodule
